"""The tables of the log, and the statements that several of its methods share."""

#: A row of `pending` that waits for an earlier one of its key is due at this time.
HELD = 1e18

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS messages (
    position INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS messages_of_stream ON messages (stream, position);

-- Every message up to `cursor` was handed out, or is held; it is finished unless it is in `pending`.
CREATE TABLE IF NOT EXISTS groups (
    stream TEXT NOT NULL, name TEXT NOT NULL, cursor INTEGER NOT NULL, PRIMARY KEY (stream, name)
) WITHOUT ROWID, STRICT;

-- `due`: when it can be handed out: the end of the lease, or of the delay.
CREATE TABLE IF NOT EXISTS pending (
    stream TEXT NOT NULL, name TEXT NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL,
    consumer TEXT NOT NULL, attempt INTEGER NOT NULL, due REAL NOT NULL, PRIMARY KEY (stream, name, position)
) WITHOUT ROWID, STRICT;
CREATE INDEX IF NOT EXISTS pending_of_key ON pending (stream, name, key, position);
CREATE INDEX IF NOT EXISTS pending_due ON pending (stream, name, due);
CREATE INDEX IF NOT EXISTS pending_held ON pending (stream, name, key, position) WHERE due = {HELD};

CREATE TABLE IF NOT EXISTS dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, name TEXT NOT NULL, position INTEGER NOT NULL,
    key TEXT NOT NULL, body BLOB NOT NULL, reason TEXT NOT NULL, attempts INTEGER NOT NULL, at REAL NOT NULL
) STRICT;
"""

#: What can be handed out again, none before an earlier one of its key. `?1` stream, `?2` group, `?3` now, `?4` limit.
DUE = """
SELECT position, key, attempt, consumer FROM pending AS it
WHERE stream = ?1 AND name = ?2 AND due <= ?3 AND NOT EXISTS (
    SELECT 1 FROM pending AS earlier
    WHERE earlier.stream = ?1 AND earlier.name = ?2 AND earlier.key = it.key AND it.key != ''
      AND earlier.position < it.position AND earlier.due > ?3
)
ORDER BY position LIMIT ?4
"""

NEW = "SELECT position, key FROM messages WHERE stream = ? AND position > ? ORDER BY position LIMIT ?"

OWNED = "stream = ? AND name = ? AND position = ? AND consumer = ? AND attempt = ?"

#: Hand out next what waited for a key; `?1` stream, `?2` group, `?3` key, `?4` how many.
RELEASE = f"""
UPDATE pending SET due = 0 WHERE stream = ?1 AND name = ?2 AND position IN (
    SELECT position FROM pending
    WHERE stream = ?1 AND name = ?2 AND key = ?3 AND due = {HELD} ORDER BY position LIMIT ?4
)
"""

BURY = """
INSERT INTO dead (stream, name, position, key, body, reason, attempts, at)
SELECT p.stream, p.name, p.position, p.key, m.body, ?, p.attempt, ?
FROM pending AS p JOIN messages AS m USING (position) WHERE p.stream = ? AND p.name = ? AND p.position = ?
"""

#: Of what groups have finished, nothing is looked at: the names of streams are found by leaps over the index.
BACKLOGS = """
WITH RECURSIVE streams (name) AS (
    SELECT MIN(stream) FROM messages
    UNION ALL
    SELECT (SELECT MIN(stream) FROM messages WHERE stream > streams.name) FROM streams WHERE streams.name IS NOT NULL
)
SELECT g.stream, g.name,
    (SELECT COUNT(*) FROM messages AS m WHERE m.stream = g.stream AND m.position > g.cursor),
    (SELECT COUNT(*) FROM pending AS p WHERE p.stream = g.stream AND p.name = g.name)
FROM groups AS g
UNION ALL
SELECT s.name, '', (SELECT COUNT(*) FROM messages AS m WHERE m.stream = s.name), 0 FROM streams AS s
WHERE s.name IS NOT NULL AND NOT EXISTS (SELECT 1 FROM groups AS g WHERE g.stream = s.name)
"""

#: The first position of a stream that a group has not finished. `?1` stream; NULL without a group.
UNFINISHED = """
SELECT MIN(MIN(cursor + 1, IFNULL(
    (SELECT MIN(position) FROM pending AS p WHERE p.stream = g.stream AND p.name = g.name), cursor + 1
))) FROM groups AS g WHERE stream = ?1
"""
