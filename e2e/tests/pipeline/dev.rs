//! `mutt dev`: everything on one machine by one command.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use mutt_e2e::{LIMIT, Sender, event, eventually, mutt, repository};
use mutt_servers::{ManagedChild, PostgresServer, RedisServer, Webhook};
use rustix::process::Signal;

/// A running `mutt dev` and what it wrote to its env file.
struct Dev {
    child: ManagedChild,
    env: HashMap<String, String>,
    directory: tempfile::TempDir,
}

impl Dev {
    async fn start(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let env_file = directory.path().join("dev.env");
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(mutt());
        command.args(["dev", "--ports", "free", "--env-file", env_file.to_str().unwrap()]).args(flags);
        for name in ["REDIS_URL", "DATABASE_URL", "MOOG_WEBHOOK_URL", "RULES_SOURCE"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = ManagedChild::spawn(command, Signal::KILL).unwrap();
        eventually("the env file of mutt dev", async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("mutt dev ended with {status}");
            }
            env_file.exists()
        })
        .await;
        Self { env: read_env(&env_file), child, directory }
    }

    fn text(&self, name: &str) -> &str {
        self.env.get(name).unwrap_or_else(|| panic!("{name} is not in the env file"))
    }

    fn pids(&self) -> Vec<u32> {
        self.text("PIDS").split(',').filter(|pid| !pid.is_empty()).map(|pid| pid.parse().unwrap()).collect()
    }

    fn sender(&self) -> Sender {
        Sender::new(self.text("INGEST_URL"), self.text("API_KEY"))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    async fn terminate(mut self) {
        self.child.signal(Signal::TERM).unwrap();
        let status = self.child.wait(LIMIT).await.unwrap().expect("mutt dev does not end");
        assert!(status.success(), "mutt dev ended with {status}: {}", self.log());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- mutt dev said (last line first):\n{}\n---", tail.join("\n"));
        }
    }
}

/// Lets a shell read the file, as scripts do.
fn read_env(path: &Path) -> HashMap<String, String> {
    let names = "INGEST_URL API_KEY WEBUI_URL WEBUI_KEY REDIS_URL DATABASE_URL MOOG_URL MOOG_API_KEY METRICS_URLS PIDS";
    let script =
        format!(". '{}'; for n in {names}; do eval \"printf '%s=%s\\n' $n \\\"\\$$n\\\"\"; done", path.display());
    let output = Command::new("sh").arg("-euc").arg(script).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

fn runs(pid: u32) -> bool {
    // A process that has ended and is not yet waited for is a zombie.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sample_traffic_becomes_audit_rows_and_alerts() {
    let dev = Dev::start(&[]).await;
    assert_eq!(dev.pids().len(), 1, "all roles in one process");
    for role in ["ingestor", "alerter", "forwarder", "webui"] {
        assert!(
            dev.text("METRICS_URLS").contains(&format!("{role}=http://127.0.0.1:")),
            "{}",
            dev.text("METRICS_URLS")
        );
    }
    let database = PostgresServer::shared().await.unwrap();
    eventually("handled and unhandled events in the audit", async || {
        let sql = "SELECT count(DISTINCT handling_decision) FROM event_audit_log";
        database.sql_at(dev.text("DATABASE_URL"), sql).await.is_ok_and(|count| count.parse::<i32>().unwrap() >= 3)
    })
    .await;
    eventually("an alert is shown", async || dev.log().contains("First alerts at the webhook")).await;
    dev.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_are_restarted_and_die_with_their_parent() {
    let mut dev = Dev::start(&["--processes", "--no-traffic"]).await;
    let pids = dev.pids();
    assert_eq!(pids.len(), 4, "{pids:?}");
    // The alerter, second in the order of --roles.
    let killed = rustix::process::Pid::from_raw(pids[1].cast_signed()).unwrap();
    rustix::process::kill_process(killed, Signal::KILL).unwrap();
    let env_file = dev.directory.path().join("dev.env");
    eventually("another alerter", async || {
        let now = read_env(&env_file)["PIDS"].clone();
        now.split(',').count() == 4 && now != dev.text("PIDS")
    })
    .await;
    dev.env = read_env(&env_file);
    let pids = dev.pids();

    let database = PostgresServer::shared().await.unwrap();
    let answer = dev.sender().send(&event("core-1", "%BGP-5-ADJCHANGE: neighbor 10.0.0.1 Down")).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.json);
    eventually("the event in the audit", async || {
        let sql = "SELECT count(*) FROM event_audit_log WHERE forwarded_to_moog";
        database.sql_at(dev.text("DATABASE_URL"), sql).await.is_ok_and(|count| count == "1")
    })
    .await;

    dev.child.kill().unwrap();
    eventually("no process is left", async || !pids.iter().any(|pid| runs(*pid))).await;
    let url = dev.text("REDIS_URL").to_owned();
    let port: u16 = url.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    eventually("the private Redis is gone", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_servers_and_rule_files_are_used() {
    let (redis, webhook) = (RedisServer::start().await.unwrap(), Webhook::start().await.unwrap());
    let database = PostgresServer::shared().await.unwrap();
    let database_url = database.fresh_database().await.unwrap();
    let rules = repository().join("manifests/samples/rules");
    let (redis_url, moog_url) = (redis.url(), webhook.url());
    let flags = [
        ["--redis-url", &redis_url],
        ["--database-url", &database_url],
        ["--moog-url", &moog_url],
        ["--rules", rules.to_str().unwrap()],
        ["--roles", "ingestor,alerter,forwarder"],
    ];
    let mut flags = flags.concat();
    flags.push("--no-traffic");
    let dev = Dev::start(&flags).await;
    assert_eq!((dev.text("REDIS_URL"), dev.text("MOOG_URL"), dev.text("WEBUI_URL")), (&*redis_url, &*moog_url, ""));
    let answer = dev.sender().send(&event("core-1", "%BGP-5-ADJCHANGE: neighbor 10.0.0.1 Down")).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.json);
    webhook.wait_for(1, LIMIT).await.unwrap();
    let alert = &webhook.received()[0];
    assert_eq!((alert.text("class"), alert.json["severity"].as_i64()), ("NETO", Some(5)), "{}", alert.json);
    assert_eq!(alert.header("authorization"), format!("Bearer {}", dev.text("MOOG_API_KEY")));
    // The sample pipeline makes lab-1 a development host, for which BGP is a ticket only; still an alert.
    let audited = "SELECT handling_decision FROM event_audit_log WHERE hostname = 'lab-1'";
    dev.sender().send(&event("lab-1", "%BGP-5-ADJCHANGE: neighbor 10.0.0.1 Down")).await.unwrap();
    eventually("the development handling", async || {
        database.sql_at(&database_url, audited).await.is_ok_and(|decision| decision == "Ticket_only")
    })
    .await;
    dev.terminate().await;
    assert!(redis.command(&["PING"]).await.is_ok(), "a given Redis stays");
}
