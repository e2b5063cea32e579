//! From flags and environment to what will be started. Nothing is started here.

use super::args::{DevArgs, DevRole, PortChoice};
use crate::settings::{Origin, Vars};

/// Random bytes in a made-up key, written as hex digits.
const KEY_BYTES: usize = 20;

/// What runs where.
#[derive(Debug)]
pub(super) struct Plan {
    /// Settings of all roles; what private servers add to them is set when those run.
    pub(super) vars: Vars,
    /// The given Redis; `None` = a private one.
    pub(super) redis_url: Option<String>,
    /// The given database; `None` = a private one.
    pub(super) database_url: Option<String>,
    /// The given webhook; `None` = the stand-in.
    pub(super) moog_url: Option<String>,
    /// Whether the sample rules go into an empty `alert_rules`.
    pub(super) sample_rules: bool,
}

impl Plan {
    /// Settings given by flag win over the environment; keys and ports that nobody gave are chosen here.
    pub(super) fn new(args: &DevArgs, mut vars: Vars) -> std::io::Result<Self> {
        // A URL given as a flag brings its own password; one for another server must not win over it.
        if args.redis_url.is_some() {
            forget(&mut vars, &["REDIS_PASS", "REDIS_PASS_CURRENT", "REDIS_PASS_NEXT", "REDIS_USERNAME"]);
        }
        if args.database_url.is_some() {
            forget(&mut vars, &["DB_PASS", "DB_PASS_CURRENT", "DB_PASS_NEXT", "DB_USER", "DB_READ_HOST"]);
        }
        let redis_url = args.redis_url.clone().or_else(|| redis_of_settings(&vars));
        let database_url = args.database_url.clone().or_else(|| database_of_settings(&vars));
        let moog_url = args.moog_url.clone().or_else(|| vars.get("MOOG_WEBHOOK_URL").map(str::to_owned));
        // What `mutt dev` says is for a person; the roles' own lines would bury it.
        if vars.get("LOG_LEVEL").is_none() {
            set(&mut vars, "LOG_LEVEL", "warn");
        }
        if let Some(directory) = &args.rules {
            set(&mut vars, "RULES_SOURCE", "dir");
            set(&mut vars, "RULES_DIR", directory.display().to_string());
        }
        for name in ["INGEST_API_KEY", "WEBUI_API_KEY", "MOOG_API_KEY"] {
            if vars.get(name).is_none() && vars.get(&format!("{name}_FILE")).is_none() {
                set(&mut vars, name, made_up_key()?);
            }
        }
        if args.ports == PortChoice::Free {
            for role in &args.roles {
                let (health, metrics) = role.ports();
                for name in [health, metrics] {
                    if vars.get(name).is_none() {
                        set(&mut vars, name, mutt_servers::free_port()?.to_string());
                    }
                }
            }
        }
        let from_database = vars.get("RULES_SOURCE").is_none_or(|source| source == "postgres");
        Ok(Self { sample_rules: from_database && database_url.is_none(), vars, redis_url, database_url, moog_url })
    }

    /// The settings as they will be, with placeholders for what is not started yet.
    pub(super) fn vars_for_check(&self) -> Vars {
        let mut plan = Self { vars: self.vars.clone(), redis_url: None, database_url: None, moog_url: None, ..*self };
        plan.use_redis(self.redis_url.as_deref().unwrap_or("redis://127.0.0.1"));
        plan.use_database(self.database_url.as_deref().unwrap_or("postgres://mutt@127.0.0.1/mutt"));
        plan.use_webhook(self.moog_url.as_deref().unwrap_or("http://127.0.0.1/"));
        plan.vars
    }

    /// Tells the roles where Redis is.
    pub(super) fn use_redis(&mut self, url: &str) {
        set(&mut self.vars, "REDIS_URL", url);
    }

    /// Tells the roles where PostgreSQL is.
    pub(super) fn use_database(&mut self, url: &str) {
        let tls_is_decided = url.contains("sslmode=") || self.vars.get("DB_TLS_ENABLED").is_some();
        // On a developer's machine PostgreSQL rarely has a certificate.
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = if tls_is_decided { url.to_owned() } else { format!("{url}{separator}sslmode=disable") };
        set(&mut self.vars, "DATABASE_URL", url);
    }

    /// Tells the forwarder where the webhook is.
    pub(super) fn use_webhook(&mut self, url: &str) {
        set(&mut self.vars, "MOOG_WEBHOOK_URL", url);
    }

    /// Forgets passwords of other servers than the private one.
    pub(super) fn forget_redis_secrets(&mut self) {
        forget(&mut self.vars, &["REDIS_PASS", "REDIS_PASS_CURRENT", "REDIS_PASS_NEXT", "REDIS_USERNAME"]);
    }

    /// Forgets passwords of other servers than the private one.
    pub(super) fn forget_database_secrets(&mut self) {
        forget(&mut self.vars, &["DB_PASS", "DB_PASS_CURRENT", "DB_PASS_NEXT", "DB_USER", "DB_READ_HOST"]);
    }

    /// The port of a setting, given or its default.
    pub(super) fn port(&self, name: &str) -> u16 {
        let default = || crate::settings::SETTINGS.iter().find(|setting| setting.name == name)?.default.parse().ok();
        self.vars.get(name).and_then(|port| port.parse().ok()).or_else(default).unwrap_or_default()
    }

    /// `http://127.0.0.1:<port>` of the role's health and metrics.
    pub(super) fn urls(&self, role: DevRole) -> (String, String) {
        let tls = self.vars.get("SERVER_TLS_CERT_PATH").is_some();
        let scheme = if tls { "https" } else { "http" };
        let (health, metrics) = role.ports();
        let url = |name| format!("{scheme}://127.0.0.1:{}", self.port(name));
        (url(health), url(metrics))
    }
}

fn set(vars: &mut Vars, name: &str, value: impl Into<String>) {
    // As from the environment: only there may a URL hold a password.
    vars.set(name, value, Origin::Environment);
}

fn forget(vars: &mut Vars, names: &[&str]) {
    for name in names {
        vars.remove(name);
        vars.remove(&format!("{name}_FILE"));
    }
}

fn redis_of_settings(vars: &Vars) -> Option<String> {
    let parts = || {
        let host = vars.get("REDIS_HOST")?;
        let plain = vars.get("REDIS_TLS_ENABLED").is_some_and(|value| ["false", "0", "no", "off"].contains(&value));
        let scheme = if plain { "redis" } else { "rediss" };
        Some(format!("{scheme}://{host}:{}", vars.get("REDIS_PORT").unwrap_or("6379")))
    };
    vars.get("REDIS_URL").map(str::to_owned).or_else(parts)
}

fn database_of_settings(vars: &Vars) -> Option<String> {
    let parts = || {
        let host = vars.get("DB_HOST")?;
        let user = vars.get("DB_USER").unwrap_or("mutt_user");
        let (port, name) = (vars.get("DB_PORT").unwrap_or("5432"), vars.get("DB_NAME").unwrap_or("mutt_db"));
        Some(format!("postgres://{user}@{host}:{port}/{name}"))
    };
    vars.get("DATABASE_URL").map(str::to_owned).or_else(parts)
}

fn made_up_key() -> std::io::Result<String> {
    let mut bytes = [0_u8; KEY_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| std::io::Error::other("no random numbers to be had"))?;
    Ok(mutt_rules::hex(&bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: DevArgs,
    }

    fn plan(flags: &[&str], environment: &[(&str, &str)]) -> Plan {
        let args = Command::parse_from([&["dev"], flags].concat()).args;
        let mut vars = Vars::default();
        for (name, value) in environment {
            vars.set(name, *value, Origin::Environment);
        }
        Plan::new(&args, vars).unwrap()
    }

    #[test]
    fn without_flags_all_is_private_on_the_fixed_ports() {
        let plan = plan(&[], &[]);
        assert_eq!((&plan.redis_url, &plan.database_url, &plan.moog_url), (&None, &None, &None));
        assert!(plan.sample_rules);
        let alerter = plan.urls(DevRole::Alerter);
        assert_eq!(alerter, ("http://127.0.0.1:8082".into(), "http://127.0.0.1:8081".into()));
        assert_ne!(plan.vars.get("INGEST_API_KEY"), plan.vars.get("WEBUI_API_KEY"));
        assert_eq!(plan.vars.get("MOOG_API_KEY").unwrap().len(), 2 * KEY_BYTES);
    }

    #[test]
    fn flags_win_over_the_environment_and_bring_their_own_password() {
        let environment = [
            ("REDIS_URL", "redis://other"),
            ("REDIS_PASS_FILE", "/x"),
            ("INGEST_API_KEY", "given"),
            ("SERVER_PORT_INGESTOR", "9000"),
        ];
        let plan = plan(&["--redis-url", "redis://:pw@h:1", "--ports", "free", "--roles", "ingestor"], &environment);
        assert_eq!(plan.redis_url.as_deref(), Some("redis://:pw@h:1"));
        assert_eq!(plan.vars.get("REDIS_PASS_FILE"), None);
        assert_eq!(plan.vars.get("INGEST_API_KEY"), Some("given"));
        assert_eq!(plan.port("SERVER_PORT_INGESTOR"), 9000);
    }

    #[test]
    fn sample_rules_only_for_a_private_database_that_is_the_source() {
        assert!(!plan(&["--database-url", "postgres://h/d"], &[]).sample_rules);
        assert!(!plan(&["--rules", "rules"], &[]).sample_rules);
        assert!(!plan(&[], &[("RULES_SOURCE", "redis")]).sample_rules);
        assert!(plan(&["--redis-url", "redis://h"], &[]).sample_rules);
    }

    #[test]
    fn a_database_url_without_sslmode_is_taken_without_tls() {
        let mut plan = plan(&[], &[]);
        plan.use_database("postgres://h/d");
        assert_eq!(plan.vars.get("DATABASE_URL"), Some("postgres://h/d?sslmode=disable"));
        plan.use_database("postgres://h/d?sslmode=verify-full");
        assert_eq!(plan.vars.get("DATABASE_URL"), Some("postgres://h/d?sslmode=verify-full"));
    }
}
