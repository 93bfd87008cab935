"""xsltproc makes a report of 16,000 orders: keys, grouping, sorting, recursive templates. libxml2 and libxslt allocate each
node, attribute, string and set of nodes by itself, the XPath engine its values besides."""

from ._data import Prose, write

NEEDS = {"xsltproc": "xsltproc"}
COMMAND = ["xsltproc", "--nonet", "{inputs}/report.xsl", "{inputs}/orders.xml"]

STYLE = """<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:output method="html" indent="yes" encoding="UTF-8"/>
<xsl:key name="of" match="order" use="@customer"/>
<xsl:template match="/orders"><html><body>
  <xsl:for-each select="order[generate-id() = generate-id(key('of', @customer)[1])]">
    <xsl:sort select="@customer"/>
    <xsl:variable name="all" select="key('of', @customer)"/>
    <xsl:variable name="sum" select="format-number(sum($all/line/@price), '#,##0.00')"/>
    <h2><xsl:value-of select="concat(@customer, ': ', count($all), ' orders, ', $sum)"/></h2>
    <ol><xsl:apply-templates select="$all"><xsl:sort select="@day"/><xsl:sort select="note"/></xsl:apply-templates></ol>
  </xsl:for-each></body></html></xsl:template>
<xsl:template match="order"><li id="{@id}">
  <xsl:call-template name="words"><xsl:with-param name="text" select="normalize-space(note)"/></xsl:call-template>
  <xsl:for-each select="line[@price &gt; 50]"><xsl:sort select="@price" data-type="number" order="descending"/>
    <em><xsl:value-of select="concat(translate(@item, 'abc', 'ABC'), ' ', @price)"/></em></xsl:for-each></li></xsl:template>
<xsl:template name="words"><xsl:param name="text"/><xsl:choose>
  <xsl:when test="contains($text, ' ')"><b><xsl:value-of select="substring-before($text, ' ')"/></b>
    <xsl:call-template name="words"><xsl:with-param name="text" select="substring-after($text, ' ')"/></xsl:call-template>
  </xsl:when>
  <xsl:otherwise><i><xsl:value-of select="$text"/></i></xsl:otherwise></xsl:choose></xsl:template>
</xsl:stylesheet>
"""


def inputs(folder):
    prose = Prose(3)
    rng, orders = prose.rng, ["<?xml version='1.0' encoding='UTF-8'?>\n<orders>"]
    for i in range(16000):
        lines = "".join(f"<line item='{prose.word()}' price='{rng.randrange(10000) / 100}'/>"
                        for _ in range(rng.randrange(1, 7)))
        orders.append(f"<order id='o{i}' customer='c{rng.randrange(250):03}' day='{rng.randrange(365):03}'>"
                      f"{lines}<note>{prose.text(8)}</note></order>")
    write(folder, "report.xsl", STYLE)
    write(folder, "orders.xml", "\n".join(orders + ["</orders>\n"]))
