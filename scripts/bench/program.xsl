<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<!-- The xsltproc workload: groups and sorts the entries of a log that bench-first makes. -->
<xsl:output method="html" indent="yes"/>
<xsl:key name="kind" match="entry" use="@kind"/>
<xsl:template match="/log"><html><body>
  <xsl:for-each select="entry[generate-id() = generate-id(key('kind', @kind)[1])]">
    <xsl:sort select="@kind"/>
    <h2><xsl:value-of select="@kind"/><xsl:text> </xsl:text><xsl:value-of select="count(key('kind', @kind))"/></h2>
    <ul><xsl:apply-templates select="key('kind', @kind)"><xsl:sort select="title"/></xsl:apply-templates></ul>
  </xsl:for-each></body></html></xsl:template>
<xsl:template match="entry"><li id="{@id}">
  <xsl:call-template name="turn"><xsl:with-param name="text" select="title"/></xsl:call-template>
  <b><xsl:value-of select="translate(normalize-space(body), 'abc', 'ABC')"/></b>
  <xsl:for-each select="body/word"><i><xsl:value-of select="concat(., position())"/></i></xsl:for-each></li></xsl:template>
<xsl:template name="turn"><xsl:param name="text"/><xsl:if test="string-length($text) &gt; 0">
  <xsl:call-template name="turn"><xsl:with-param name="text" select="substring($text, 2)"/></xsl:call-template>
  <xsl:value-of select="substring($text, 1, 1)"/></xsl:if></xsl:template>
</xsl:stylesheet>
