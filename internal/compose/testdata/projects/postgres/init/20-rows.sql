INSERT INTO entries (note) VALUES ('first');
