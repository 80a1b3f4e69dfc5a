//! The user that the daemon works as (B1.13).

use std::ffi::{CString, OsStr};
use std::io;

use thiserror::Error;

use crate::sys;

/// Why the daemon cannot work as the user that `user` names.
#[derive(Debug, Error)]
pub enum AccountError {
    #[error("option user: there is no user {0:?} on this machine")]
    Unknown(String),
    #[error("option user: unable to look up user {user:?}: {error}")]
    Lookup { user: String, error: io::Error },
    #[error("unable to become user {user:?}: {step}: {error}")]
    Assume { user: String, step: &'static str, error: io::Error },
    #[error("unable to become user {user:?}: user and group ids are still {ids}")]
    NotAssumed { user: String, ids: String },
}

/// A user of this machine.
#[derive(Debug)]
pub(crate) struct Account {
    name: String,
    c_name: CString,
    entry: sys::Account,
}

impl Account {
    /// Looks the user up.
    pub(crate) fn find(name: &str) -> Result<Self, AccountError> {
        let unknown = || AccountError::Unknown(name.to_owned());
        let c_name = CString::new(name).map_err(|_| unknown())?;
        let entry = sys::account(&c_name)
            .map_err(|error| AccountError::Lookup { user: name.to_owned(), error })?
            .ok_or_else(unknown)?;
        Ok(Self { name: name.to_owned(), c_name, entry })
    }

    /// The user's home folder.
    pub(crate) fn home(&self) -> &OsStr {
        &self.entry.home
    }

    /// Makes the process this user's, with the user's groups, and makes sure that it is.
    ///
    /// # Errors
    /// [`AccountError::Assume`] if the system refuses, as it does unless the process is root's or this user's already;
    /// [`AccountError::NotAssumed`] if the process still has other ids afterwards.
    pub(crate) fn assume(&self) -> Result<(), AccountError> {
        let failed = |step| move |error| AccountError::Assume { user: self.name.clone(), step, error };
        let sys::Account { uid, gid, .. } = self.entry;
        if rustix::process::geteuid().is_root() {
            sys::init_groups(&self.c_name, gid).map_err(failed("setgroups"))?;
        }
        sys::set_gid(gid).map_err(failed("setgid"))?;
        sys::set_uid(uid).map_err(failed("setuid"))?;
        let ids = sys::identity().map_err(failed("getresuid"))?;
        if ids == ([uid; 3], [gid; 3]) {
            return Ok(());
        }
        Err(AccountError::NotAssumed { user: self.name.clone(), ids: format!("{ids:?}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_user_is_one_line() {
        for name in ["no such user", "nul\0"] {
            let error = Account::find(name).unwrap_err().to_string();
            assert_eq!(error, format!("option user: there is no user {name:?} on this machine"));
        }
    }
}
