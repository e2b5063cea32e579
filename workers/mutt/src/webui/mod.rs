//! The Web UI role: the JSON API of rules, audit, hosts, teams and settings.
