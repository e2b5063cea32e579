//! Keeps what the node's programs write outside their directory from the machine.

use std::{fs, path::Path};

use crate::{ClusterError, binaries::installed, process::run};

/// Where the node's programs leave files outside their directory. Each becomes an empty file system that only the node
/// sees and that ends with it.
const PRIVATE: &[&str] = &["/run/containerd", "/run/netns", "/var/lib/cni", "/var/log/containers", "/var/lib/kubelet"];
/// Kernel settings that the kubelet insists on. They are the whole machine's, so it finds files with its values instead.
const KERNEL: &[(&str, &str)] = &[
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Hides what is the machine's behind what is the node's, whose files are in `directory`. Only for a process in a mount namespace of its own.
pub(super) fn set_up(directory: &Path) -> Result<(), ClusterError> {
    let mount = installed("mount")?;
    for folder in PRIVATE {
        fs::create_dir_all(folder).map_err(ClusterError::io(format!("make {folder}")))?;
        run(&mount, &["-t", "tmpfs", "-o", "mode=0755", "mutt-cluster", folder])?;
    }
    for (name, value) in KERNEL {
        let setting = Path::new("/proc/sys").join(name);
        let file = directory.join(name.replace('/', "."));
        if setting.exists() {
            fs::write(&file, value).map_err(ClusterError::io(format!("write {}", file.display())))?;
            run(&mount, &["--bind", &file.display().to_string(), &setting.display().to_string()])?;
        }
    }
    Ok(())
}
