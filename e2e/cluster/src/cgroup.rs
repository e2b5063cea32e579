//! The cgroups that the node's pods live below. They are the only thing a node leaves on the machine when it is killed:
//! named after its directory, they can be found and removed.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use crate::ClusterError;

const ROOT: &str = "/sys/fs/cgroup";

/// The mounted hierarchies: one of version 2, or one per controller of version 1.
fn hierarchies() -> Vec<PathBuf> {
    if Path::new(ROOT).join("cgroup.controllers").is_file() {
        return vec![PathBuf::from(ROOT)];
    }
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    // Links like `cpu,cpuacct` lead to hierarchies that are listed themselves.
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Makes a cgroup in every hierarchy.
pub(crate) fn create(name: &OsStr) -> Result<(), ClusterError> {
    for hierarchy in hierarchies() {
        let group = hierarchy.join(name);
        fs::create_dir(&group).map_err(ClusterError::io(format!("make {}", group.display())))?;
        // Version 1 gives a new cpuset neither cores nor memory.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (hierarchy.join(file), group.join(file));
            if hierarchy.join("tasks").is_file() && from.is_file() {
                fs::read(&from)
                    .and_then(|value| fs::write(&to, value))
                    .map_err(ClusterError::io(format!("write {}", to.display())))?;
            }
        }
    }
    Ok(())
}

/// Removes a cgroup with all below it; true when it is gone. The kernel refuses while a process is in it.
pub(crate) fn remove(name: &OsStr) -> bool {
    // Not `all`: one hierarchy's refusal must not keep the others.
    hierarchies().iter().map(|hierarchy| remove_tree(&hierarchy.join(name))).filter(|gone| !gone).count() == 0
}

fn remove_tree(group: &Path) -> bool {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    match fs::remove_dir(group) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The names of all cgroups at the top of a hierarchy that begin with `prefix`.
pub(crate) fn named(prefix: &str) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = hierarchies()
        .iter()
        .flat_map(|hierarchy| fs::read_dir(hierarchy).into_iter().flatten().flatten())
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().starts_with(prefix))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
