-- Descriptors that services told of themselves by reflection. A copy: the services are the truth.
CREATE TABLE reflected_descriptors (
  service text PRIMARY KEY,
  descriptor_set bytea NOT NULL,
  update_time timestamptz NOT NULL DEFAULT now()
);
