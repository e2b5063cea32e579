//! Clients of Redis, PostgreSQL and the webhook, made from settings and secrets.
