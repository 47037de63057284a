-- Which fields of which records a mutation touched (0: it removed the record), so that an older one
-- of its device that comes later is known as stale there. Of those before this, nothing is known.
ALTER TABLE mutations ADD COLUMN touched jsonb NOT NULL DEFAULT '{}';
