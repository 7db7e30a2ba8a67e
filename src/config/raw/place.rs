//! Will the gateway be able to write where it is told to? Asked without writing anything.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{Access, access};

/// Why files cannot be made in a folder, which need not exist yet.
pub(super) fn check_folder(folder: &Path) -> Result<(), String> {
    let mut here = folder;
    loop {
        // A relative path ends in nothing: the working directory.
        if here.as_os_str().is_empty() {
            here = Path::new(".");
        }
        let name = here.display();
        match fs::metadata(here) {
            Ok(found) if !found.is_dir() => return Err(format!("{name} is not a directory")),
            Ok(_) => {
                return access(here, Access::WRITE_OK | Access::EXEC_OK)
                    .map_err(|error| format!("{name} cannot be written to: {error}"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if here.is_symlink() {
                    return Err(format!("{name} is a symbolic link to what does not exist"));
                }
                match here.parent() {
                    Some(parent) => here = parent,
                    None => return Err(format!("{name} does not exist")),
                }
            }
            Err(error) => return Err(format!("{name} cannot be reached: {error}")),
        }
    }
}

/// Why a log cannot be written: its file, or others beside it. The data directory need not exist yet.
pub(super) fn check_log(file: &Path, data_directory: &Path) -> Result<(), String> {
    if data_directory.starts_with(file) {
        return Err(is_folder(file));
    }
    check_file(file)?;
    // A device has nothing beside it.
    if fs::metadata(file).is_ok_and(|found| !found.is_file()) {
        return Ok(());
    }
    check_folder(file.parent().unwrap_or_else(|| Path::new("")))
}

fn is_folder(file: &Path) -> String {
    format!("{} is a directory; name a file in it", file.display())
}

/// Why a log cannot be sent elsewhere: that is done from its file.
pub(super) fn check_readable_again(file: &Path) -> Result<(), String> {
    match fs::metadata(file) {
        Ok(found) if !found.is_file() => Err(format!(
            "{} is no file, and audit.webhook and audit.otlp send what can be read again",
            file.display()
        )),
        _ => Ok(()),
    }
}

/// Why a file cannot be appended to, or made.
fn check_file(file: &Path) -> Result<(), String> {
    let name = file.display();
    match fs::metadata(file) {
        Ok(found) if found.is_dir() => Err(is_folder(file)),
        Ok(_) => access(file, Access::READ_OK | Access::WRITE_OK)
            .map_err(|error| format!("{name} cannot be written to: {error}")),
        Err(_) => check_folder(file.parent().unwrap_or_else(|| Path::new(""))),
    }
}
