-- What a mutation touched, so that an older one of its device that comes later is known as stale
-- there: by record id and field (0: it removed the record) the seq of the cell that has its value,
-- or 0 if it lost. Of mutations from before this nothing is known.
ALTER TABLE mutations ADD COLUMN touched jsonb NOT NULL DEFAULT '{}';
