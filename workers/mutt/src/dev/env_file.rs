//! The file that tells scripts where everything is: `NAME=value`, shell-quoted, one per line, written by rename.

use std::{fs, io, io::Write, path::Path};

/// Writes the pairs; readers see the old file or the whole new one. Keys are in it, so only the owner may read it.
pub(super) fn write(path: &Path, pairs: &[(&str, String)]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    // Files of this crate are made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    for (name, value) in pairs {
        writeln!(file, "{name}={}", quoted(value))?;
    }
    file.flush()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// POSIX shell quoting, where it is needed: everything between single quotes stands for itself.
fn quoted(value: &str) -> String {
    if value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte)) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/dev.env");
        let nasty = "it's $HOME; `x` \"y\" \\ z";
        write(&path, &[("INGEST_URL", nasty.into()), ("PIDS", String::new())]).unwrap();
        let script = format!(". '{}'; printf '%s|%s' \"$INGEST_URL\" \"$PIDS\"", path.display());
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{nasty}|"));
    }
}
