//! MUTT: syslog, SNMP traps and HTTP events in; audit rows and alerts out. One binary, `mutt <role>`.

mod alert;
mod audit;
mod bench;
pub mod cli;
mod connect;
mod db;
mod dev;
mod dlq;
mod forward;
mod ingest;
mod relay;
mod rules;
mod rulesource;
mod send;
mod server;
mod settings;
mod slo;
mod status;
mod telemetry;
mod webui;
mod worker;
