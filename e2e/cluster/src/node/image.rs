//! The images of the node: the pause image is made here, the others are given as archives.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::containerd::{Containerd, PAUSE};
use crate::{Binaries, ClusterError, binaries::installed, process::run};

pub(super) async fn import(
    containerd: &Containerd,
    directory: &Path,
    binaries: &Binaries,
    archives: &[PathBuf],
) -> Result<(), ClusterError> {
    let pause = pause_archive(&directory.join("pause"), &binaries.get("pause")?)?;
    for archive in std::iter::once(&pause).chain(archives) {
        containerd.import(archive).await?;
    }
    Ok(())
}

/// Packs the pause program as an image of one layer, in the form of `docker save`.
fn pause_archive(folder: &Path, program: &Path) -> Result<PathBuf, ClusterError> {
    let made = |result: io::Result<()>| result.map_err(ClusterError::io(format!("write below {}", folder.display())));
    let tar = installed("tar")?;
    let root = folder.join("root");
    made(fs::create_dir_all(&root))?;
    made(fs::copy(program, root.join("pause")).map(drop))?;
    let text = |path: &Path| path.display().to_string();
    let layer = folder.join("layer.tar");
    run(&tar, &["--directory", &text(&root), "--owner=0", "--group=0", "--create", "--file", &text(&layer), "pause"])?;
    let bytes = fs::read(&layer).map_err(ClusterError::io(format!("read {}", layer.display())))?;
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": { "Entrypoint": ["/pause"], "User": "65535:65535" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&bytes))] },
    })
    .to_string();
    let config_name = format!("{}.json", hex(config.as_bytes()));
    made(fs::write(folder.join(&config_name), config))?;
    let manifest = json!([{ "Config": config_name, "RepoTags": [PAUSE], "Layers": ["layer.tar"] }]).to_string();
    made(fs::write(folder.join("manifest.json"), manifest))?;
    let archive = folder.join("pause.tar");
    let arguments = [
        "--directory",
        &text(folder),
        "--create",
        "--file",
        &text(&archive),
        "manifest.json",
        &config_name,
        "layer.tar",
    ];
    run(&tar, &arguments)?;
    Ok(archive)
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
