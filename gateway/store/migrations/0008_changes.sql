-- Which revisions were made together: the first of them. NULL: before this was noted, alone.
ALTER TABLE revisions ADD COLUMN change_first bigint;
-- Which edges get the change first, and what it is judged by; on its last revision only.
ALTER TABLE revisions ADD COLUMN canary jsonb;
CREATE INDEX revisions_change ON revisions (change_first, revision);

-- Changes that some edges had first, and how that ended.
CREATE TABLE canaries (
    revision    bigint PRIMARY KEY REFERENCES revisions (revision),
    state       text NOT NULL CHECK (state IN ('watched', 'promoted', 'rolled_back')),
    reason      text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL,
    end_time    timestamptz
);
CREATE INDEX canaries_watched ON canaries (revision) WHERE state = 'watched';
