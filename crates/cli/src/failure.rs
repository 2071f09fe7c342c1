//! Failures of the command, and their exit codes.

use std::fmt;
use std::io;
use std::process::ExitCode;

use etcdex::ErrorKind;

/// The exit codes, as printed by `--help`.
///
/// Source: etcd's `pkg/cobrautl/error.go`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    the request failed, or an endpoint is unhealthy
  2    an endpoint or a TLS option is invalid
  4    the output format, order or consistency is not supported
  5    interrupted
  6    reading or writing on this machine failed
  128  the arguments are invalid";

/// Why the command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments are invalid.
    Usage(String),
    /// An output format, order or consistency that the command does not support.
    Unsupported(String),
    /// The client could not be built, or the request failed.
    Request(etcdex::Error),
    /// Any other failure, described by the text; for example an unhealthy endpoint.
    Other(String),
    /// Writing to standard output failed.
    Output(io::Error),
    /// Another call of the operating system failed.
    System(io::Error),
    /// The user or the system interrupted the command.
    Interrupted,
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 128,
            Self::Unsupported(_) => 4,
            Self::Request(error) if error.kind() == ErrorKind::Config => 2,
            Self::Request(_) | Self::Other(_) => 1,
            // The reader of the output has closed the pipe, as in `etcdex get .. | head -1`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) | Self::System(_) => 6,
            Self::Interrupted => 5,
        }
    }

    /// Prints the failure in one line on standard error, and returns its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let code = self.code();
        if code != 0 {
            say("Error", &self.to_string());
        }
        ExitCode::from(code)
    }
}

/// Prints one line to standard error. Line ends in the text become spaces.
pub(crate) fn say(label: &str, text: &str) {
    use io::Write as _;
    let line: Vec<&str> = text.split_whitespace().collect();
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "{label}: {}", line.join(" "));
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Unsupported(text) | Self::Other(text) => f.write_str(text),
            Self::Request(error) => error.fmt(f),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
            Self::System(error) => error.fmt(f),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl From<etcdex::Error> for Failure {
    fn from(error: etcdex::Error) -> Self {
        Self::Request(error)
    }
}
