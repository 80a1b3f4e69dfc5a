//! Errors of the operating system in Python's words.

use std::io;

/// An error of the operating system as the log shows it (B12.3): in the well-known words for the errors of a connection,
/// else as Python writes it, `[Errno 28] No space left on device`.
pub fn error_text(error: &io::Error) -> String {
    let text = match error.kind() {
        io::ErrorKind::ConnectionRefused => "Connection refused",
        io::ErrorKind::ConnectionReset => "Connection reset",
        io::ErrorKind::HostUnreachable => "Host unreachable",
        io::ErrorKind::NetworkUnreachable => "Network unreachable",
        io::ErrorKind::TimedOut => "Connection timeout",
        io::ErrorKind::BrokenPipe => "Broken pipe",
        _ => return errno_text(error),
    };
    text.to_owned()
}

/// An error of the operating system as Python's `str` gives it, without a file name.
pub fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(code) => format!("[Errno {code}] {}", text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text)),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_without_a_number_have_the_same_words() {
        assert_eq!(error_text(&io::ErrorKind::TimedOut.into()), "Connection timeout");
        assert_eq!(error_text(&io::ErrorKind::ConnectionRefused.into()), "Connection refused");
        assert_eq!(error_text(&io::Error::other("something else")), "something else");
    }

    #[test]
    fn other_errors_of_the_system_have_number_and_text() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(error_text(&error), "[Errno 2] No such file or directory");
    }
}
