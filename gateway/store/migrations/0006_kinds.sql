-- Objects of other kinds than services and routes; the code's table of kinds says which there are.
ALTER TABLE objects DROP CONSTRAINT objects_kind_check;
