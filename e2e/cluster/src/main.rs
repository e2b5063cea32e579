//! `mutt-cluster run -- COMMAND`: a real one-node Kubernetes for as long as the command runs.

use std::{error::Error, ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use mutt_cluster::{ClusterError, RunOptions};

/// A real one-node Kubernetes on this machine, without a container engine.
#[derive(Debug, Parser)]
#[command(name = "mutt-cluster", version)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Start a node, run a command beside it, remove everything. The command finds KUBECONFIG, MUTT_CLUSTER_NODE_IP (where pods reach
    /// servers of the command), MUTT_CLUSTER_DIR (files and logs) and helm3, helm4 in PATH. Its exit code is passed on.
    Run {
        /// Import an image archive (as of `docker save`); may be repeated.
        #[arg(long = "image", value_name = "FILE")]
        images: Vec<PathBuf>,
        /// Install KEDA, which then serves external metrics.
        #[arg(long)]
        keda: bool,
        /// Where the logs are kept when something fails.
        #[arg(long, value_name = "DIRECTORY", default_value_os_t = std::env::temp_dir().join("mutt-cluster-logs"))]
        logs: PathBuf,
        /// The command, as `bash` or `cargo test -p mutt-e2e --test cluster`.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Process 1 of the node.
    #[command(hide = true)]
    Init {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The process that starts the node.
    #[command(hide = true)]
    Inside {
        #[arg(long)]
        directory: PathBuf,
        #[arg(long = "image")]
        images: Vec<PathBuf>,
        #[arg(long)]
        keda: bool,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_target(false).init();
    let outcome = match Arguments::parse().command {
        Subcommands::Init { arguments } => mutt_cluster::init(&arguments),
        Subcommands::Run { images, keda, logs, command } => {
            asynchronous(mutt_cluster::run(RunOptions { images, keda, logs, command }))
        }
        Subcommands::Inside { directory, images, keda, command } => {
            asynchronous(mutt_cluster::inside(directory, images, keda, &command))
        }
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprint!("mutt-cluster: {error}");
            let mut source = error.source();
            while let Some(error) = source {
                eprint!(": {error}");
                source = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn asynchronous(work: impl Future<Output = Result<u8, ClusterError>>) -> Result<u8, ClusterError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| ClusterError::Io { what: "start the runtime".to_owned(), source })?
        .block_on(work)
}
