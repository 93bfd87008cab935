#!/usr/bin/python3
"""Programs that build trees and tables in memory: sqlite3, jq, xmllint, xsltproc. Inputs are made here, always the
same; outputs are compared byte for byte, databases included."""

import os
import random
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from shimmed import Case, need, write

SQL = """
PRAGMA journal_mode = DELETE;
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind INTEGER, price REAL, note BLOB);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO item SELECT i, printf('item-%07d-%s', (i * 7919) % 100003, hex(i * 31)), i % 97, i * 0.37,
  CASE WHEN i % 10 = 0 THEN zeroblob(i % 300) END FROM n;
COMMIT;
CREATE INDEX item_name ON item(name);
CREATE INDEX item_kind ON item(kind, price);
CREATE TABLE word(w TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;
INSERT INTO word SELECT substr(name, 6, 4), count(*) FROM item GROUP BY 1;
SELECT count(*), sum(length(name)), min(name), max(name), total(price) FROM item;
SELECT kind, count(*), round(avg(price), 3), group_concat(id % 10, '') FROM item WHERE id % 11 = 0 GROUP BY kind ORDER BY kind;
UPDATE item SET price = price * 1.07, name = name || '-x' WHERE kind BETWEEN 10 AND 30;
DELETE FROM item WHERE kind IN (SELECT kind FROM item GROUP BY kind HAVING kind % 5 = 2);
SELECT a.kind, count(*), max(b.name) FROM item a JOIN item b ON b.id = a.id + 13 WHERE a.id < 40000 GROUP BY a.kind ORDER BY 2 DESC, 1 LIMIT 20;
SELECT id, name, rank() OVER (PARTITION BY kind ORDER BY price DESC) AS r FROM item WHERE id < 3000 ORDER BY r, id LIMIT 50;
SELECT json_group_object(w, n) FROM (SELECT w, n FROM word ORDER BY n DESC, w LIMIT 100);
SELECT length(j), json_array_length(j) FROM (SELECT json_group_array(json_object('id', id, 'name', name)) AS j FROM item);
SELECT name FROM item WHERE name LIKE '%99%-x' ORDER BY name DESC LIMIT 40;
VACUUM;
PRAGMA integrity_check;
SELECT * FROM missing;
"""

XSLT = """<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:output method="html" indent="yes"/>
<xsl:key name="by-kind" match="entry" use="@kind"/>
<xsl:template match="/log"><html><body>
  <xsl:for-each select="entry[generate-id() = generate-id(key('by-kind', @kind)[1])]">
    <xsl:sort select="@kind"/>
    <h2><xsl:value-of select="@kind"/> (<xsl:value-of select="count(key('by-kind', @kind))"/>)</h2>
    <ul><xsl:apply-templates select="key('by-kind', @kind)"><xsl:sort select="@id" data-type="number" order="descending"/>
    </xsl:apply-templates></ul>
  </xsl:for-each></body></html></xsl:template>
<xsl:template match="entry"><xsl:if test="position() mod 3 = 1"><li id="{@id}">
  <xsl:call-template name="turn"><xsl:with-param name="text" select="title"/></xsl:call-template>
  <xsl:text> </xsl:text><xsl:value-of select="translate(normalize-space(body), 'abc', 'ABC')"/></li></xsl:if></xsl:template>
<xsl:template name="turn"><xsl:param name="text"/><xsl:if test="string-length($text) &gt; 0">
  <xsl:call-template name="turn"><xsl:with-param name="text" select="substring($text, 2)"/></xsl:call-template>
  <xsl:value-of select="substring($text, 1, 1)"/></xsl:if></xsl:template>
</xsl:stylesheet>
"""

JQ = """
[.[] | select(.n % 3 == 0) | {key: .name, value: (.tags | map(ascii_upcase) | unique | join("+"))}]
| {entries: (map(select(.value | test("A+B"))) | length), table: (.[0:300] | from_entries),
   groups: (group_by(.value | length) | map({size: (.[0].value | length), n: length})),
   sum: (map(.key | ltrimstr("row-") | tonumber) | add)}
"""


def xml_log(entries):
    rng = random.Random(5)
    rows = ["<?xml version='1.0' encoding='UTF-8'?>\n<log>"]
    for i in range(entries):
        words = " ".join("".join(rng.choice("abcdefgh") for _ in range(rng.randrange(2, 9))) for _ in range(12))
        rows.append(f"<entry id='{i}' kind='k{rng.randrange(20)}'><title>t{i * 7} &amp; \u00e9</title>"
                    f"<body a='{i}' b='{words[:10]}'>{words}<!-- {i} --><x><y/></x></body></entry>")
    rows.append("</log>\n")
    return "\n".join(rows)


def json_rows(rows):
    rng = random.Random(6)
    return "[" + ",\n".join('{"name":"row-%d","n":%d,"tags":[%s],"f":%.3f}' % (
        i, rng.randrange(1000), ",".join('"%s"' % rng.choice(("a", "b", "cc", "a", "d")) for _ in range(5)),
        rng.random()) for i in range(rows)) + "]"


@need("sqlite3")
class Sqlite(Case):
    def test_100k_rows_on_disk(self):
        # The last statement is an error on purpose: status 1 and a message must come through the same.
        self.pair(["sqlite3", "test.db"], stdin=SQL.encode(), files=["test.db*"], status=1, allocations_min=20000)

    def test_100k_rows_in_memory(self):
        self.pair(["sqlite3", ":memory:"], stdin=SQL.encode(), status=1, allocations_min=20000)


@need("jq")
class Jq(Case):
    def test_filter(self):
        self.pair(["jq", JQ, "rows.json"], prepare=lambda folder: write(folder, "rows.json", json_rows(20000)),
                  allocations_min=50000)

    def test_bad_input(self):
        self.pair(["jq", ".a"], stdin=b'{"a": [1, 2, {"b"}]}', status=None, allocations_min=10)


@need("xmllint")
class Xmllint(Case):
    def prepare(self, folder):
        write(folder, "log.xml", xml_log(8000))
        write(folder, "bad.xml", xml_log(500).replace("</entry>", "</entri>", 3))

    def test_parse_and_format(self):
        self.pair(["xmllint", "--format", "--c14n", "log.xml"], prepare=self.prepare, allocations_min=50000)

    def test_xpath_huge_dtd_free(self):
        self.pair(["xmllint", "--xpath", "//entry[@kind='k3']/body[contains(., 'ab')]/@b", "log.xml"],
                  prepare=self.prepare, allocations_min=50000)

    def test_errors_recovered(self):
        self.pair(["xmllint", "--recover", "--repeat", "bad.xml"], prepare=self.prepare, allocations_min=50000)


@need("xsltproc")
class Xsltproc(Case):
    def prepare(self, folder):
        write(folder, "log.xml", xml_log(4000))
        write(folder, "log.xsl", XSLT)

    def test_transform(self):
        self.pair(["xsltproc", "-o", "log.html", "log.xsl", "log.xml"], prepare=self.prepare, files=["log.html"],
                  allocations_min=50000)

    def test_transform_to_output(self):
        self.pair(["xsltproc", "log.xsl", "log.xml"], prepare=self.prepare, allocations_min=50000)


if __name__ == "__main__":
    unittest.main()
