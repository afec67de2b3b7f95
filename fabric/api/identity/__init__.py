"""Identity v3, on `/identity`: tokens, catalog, projects, users, roles. Shapes are Keystone v3.14's."""
