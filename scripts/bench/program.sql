-- The sqlite3 workload, in memory: rows, indexes, joins, groups, json. Deterministic; prints what it computed.
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind INTEGER, price REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
INSERT INTO item SELECT i, printf('item-%06d-%s', (i * 7919) % 100003, hex(i)), i % 97, i * 0.37 FROM n;
CREATE INDEX item_name ON item(name);
CREATE INDEX item_kind ON item(kind, price);
SELECT count(*), min(name), max(name) FROM item;
SELECT kind, count(*), group_concat(substr(name, 6, 3), '') FROM item WHERE id % 20 = 0 GROUP BY kind LIMIT 3;
UPDATE item SET name = name || '-x' WHERE kind BETWEEN 10 AND 40;
SELECT a.kind, count(*), max(b.name) FROM item a JOIN item b ON b.id = a.id + 13 GROUP BY a.kind LIMIT 3;
SELECT length(json_group_array(json_object('id', id, 'name', name))) FROM item;
SELECT count(DISTINCT substr(name, 6, 4) || kind) FROM item;
SELECT sum(length(replace(upper(name), 'ITEM', printf('%d', id)))) FROM item;
DELETE FROM item WHERE kind % 5 = 2;
SELECT count(*), total(price) FROM item;
