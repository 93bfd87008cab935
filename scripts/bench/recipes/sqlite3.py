"""sqlite3 in memory, as an application uses it: 30,000 INSERT, UPDATE and SELECT statements one by one, each of which is
parsed, prepared and freed; then indexes, joins, string functions, json and full-text search over the tables."""

from ._data import Prose, write

NEEDS = {"sqlite3": "sqlite3"}
# -init: no .sqliterc of the caller's; -batch: nothing interactive.
COMMAND = ["sqlite3", "-init", "{inputs}/program.sql", "-batch", ":memory:", ""]

SCHEMA = """
CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT NOT NULL, town TEXT);
CREATE TABLE purchase(id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customer, item TEXT, price REAL, note TEXT);
CREATE TABLE change(purchase INTEGER, note TEXT);
CREATE TRIGGER changed AFTER UPDATE ON purchase BEGIN INSERT INTO change VALUES (new.id, old.note || '>' || new.note); END;
CREATE INDEX purchase_item ON purchase(item);
BEGIN;
"""
QUESTIONS = """
COMMIT;
CREATE INDEX purchase_customer ON purchase(customer, price);
SELECT c.town, count(*), round(sum(p.price), 2), max(p.note) FROM purchase p JOIN customer c ON c.id = p.customer
  GROUP BY c.town ORDER BY 3 DESC, 1 LIMIT 9;
SELECT sum(length(replace(upper(p.note) || p.item || printf('%d %s', p.id, c.name), 'A', 'bb')))
  FROM purchase p JOIN customer c ON c.id IN (p.customer, p.id % 900 + 1, p.id % 800 + 1, p.id % 700 + 1, p.id % 600 + 1);
SELECT item, group_concat(customer, ' ') FROM (SELECT DISTINCT item, customer FROM purchase WHERE price > 25 ORDER BY 1, 2)
  GROUP BY item ORDER BY length(group_concat(customer, ' ')) DESC, item LIMIT 5;
SELECT count(*), sum(x.key), min(x.value) FROM purchase p,
  json_each('["' || replace(p.note, ' ', '","') || '",' || p.id || ']') x;
SELECT sum(length(json_set(json_object('item', item, 'list', json_array(note, id)), '$.list[1]', upper(note)))) FROM purchase;
SELECT count(DISTINCT substr(note, 1, 5)), count(DISTINCT upper(item) || customer) FROM purchase;
CREATE VIRTUAL TABLE text USING fts5(item, note);
INSERT INTO text SELECT item, note FROM purchase;
SELECT count(*), sum(length(note)), count(DISTINCT purchase) FROM change;
DELETE FROM purchase WHERE customer IN (SELECT id FROM customer WHERE town > 'm');
SELECT count(*), max(note) FROM purchase;
PRAGMA integrity_check;
"""


def statements(prose):
    rng = prose.rng
    for i in range(1, 1001):
        yield f"INSERT INTO customer VALUES ({i}, '{prose.text(2).title()}', '{prose.word()}');"
    for i in range(1, 18001):
        yield (f"INSERT INTO purchase(id, customer, item, price, note) VALUES ({i}, {rng.randrange(1, 1001)}, "
               f"'{prose.word()}-{rng.randrange(9)}', {rng.randrange(5000) / 100}, '{prose.text(rng.randrange(2, 9))}');")
    for i in range(4000):
        yield f"UPDATE purchase SET note = note || ' {prose.word()}' WHERE id = {rng.randrange(1, 18001)};"
    for i in range(7000):
        first = rng.randrange(18000)
        yield (f"SELECT p.id, c.name, length(p.note) FROM purchase p JOIN customer c ON c.id = p.customer WHERE p.id "
               f"BETWEEN {first} AND {first + 9} AND p.note LIKE '%{prose.word()}%' ORDER BY c.name DESC, p.id LIMIT 3;")


def inputs(folder):
    prose = Prose(10)
    words = "".join(f"SELECT '{word}', count(*), min(rowid) FROM text WHERE text MATCH '{word}';\n"
                    for word in prose.words[:40])
    write(folder, "program.sql", SCHEMA + "\n".join(statements(prose)) + QUESTIONS + words)
