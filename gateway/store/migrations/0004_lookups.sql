-- What a change must know of other objects, found without reading them all.
-- One index over all of every object's content made each write pay for it.
DROP INDEX objects_content;

-- Who offers a gRPC service. Small and exact: no list of entries that wait to be merged.
CREATE INDEX objects_offered ON objects USING gin ((content->'grpc_services'))
    WITH (fastupdate = off) WHERE kind = 'service';

-- The services with a JSON API.
CREATE INDEX objects_json ON objects (name)
    WHERE kind = 'service' AND content->'json_prefixes' <> '[]';

-- Which routes send to a service.
CREATE INDEX objects_destinations ON objects
    USING gin ((content->'destinations') jsonb_path_ops)
    WITH (fastupdate = off) WHERE kind = 'route';
CREATE INDEX objects_mirrors ON objects
    USING gin ((content->'mirrors') jsonb_path_ops)
    WITH (fastupdate = off) WHERE kind = 'route' AND content->'mirrors' <> '[]';
