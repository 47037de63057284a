-- Which host has a domain: each has at most one.
CREATE INDEX objects_domains ON objects USING gin ((content->'domains'))
    WITH (fastupdate = off) WHERE kind = 'host';
