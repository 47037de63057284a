-- The change that some edges have first, if there is one: whoever changes the catalog locks this
-- row, so everyone sees it. Its last revision.
ALTER TABLE catalog_state ADD COLUMN canary bigint;

ALTER TABLE canaries ADD COLUMN first_revision bigint NOT NULL;
-- Node ids of the edges that have it first.
ALTER TABLE canaries ADD COLUMN edges text[] NOT NULL;
-- Those of them that have acknowledged it; replicas add the ones connected to them.
ALTER TABLE canaries ADD COLUMN acknowledged text[] NOT NULL DEFAULT '{}';
-- What it is judged by.
ALTER TABLE canaries ADD COLUMN rules jsonb NOT NULL;
-- The last revision of the roll-back; 0 for a promoted one.
ALTER TABLE canaries ADD COLUMN end_revision bigint NOT NULL DEFAULT 0;
