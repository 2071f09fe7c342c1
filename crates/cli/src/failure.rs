//! Why the command ends without having done its work, and the exit code that says so.

use std::fmt;
use std::io;
use std::process::ExitCode;

use etcdex::ErrorKind;

/// The exit codes, as the help tells them.
///
/// The numbers are those of etcdctl: `pkg/cobrautl/error.go`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the request failed, or an endpoint is unhealthy
  2    the endpoints make no sense, so that nothing could be asked
  4    this command does not have that output format, order or consistency
  5    interrupted
  6    reading or writing failed here
  128  the arguments make no sense";

/// Why the command ends without having done its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments make no sense.
    Usage(String),
    /// A format, order or consistency that does not exist (here).
    Unsupported(String),
    /// The client could not be made, or the request failed.
    Request(etcdex::Error),
    /// It has said all that there is to say on standard output; this is the rest.
    Work(String),
    /// Standard output could not be written.
    Output(io::Error),
    /// The system refused something.
    System(io::Error),
    /// Ctrl-C, or a request to end.
    Interrupted,
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 128,
            Self::Unsupported(_) => 4,
            Self::Request(error) if error.kind() == ErrorKind::Config => 2,
            Self::Request(_) | Self::Work(_) => 1,
            // Who reads no further has seen enough, as in `etcdex get .. | head -1`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) | Self::System(_) => 6,
            Self::Interrupted => 5,
        }
    }

    /// Says it in one line on standard error.
    pub(crate) fn tell(&self) -> ExitCode {
        let code = self.code();
        if code != 0 {
            say("Error", &self.to_string());
        }
        ExitCode::from(code)
    }
}

/// Writes one line to standard error, whatever line ends are in the text.
pub(crate) fn say(what: &str, text: &str) {
    use io::Write as _;
    let line: Vec<&str> = text.split_whitespace().collect();
    // Without a standard error there is nobody to tell.
    let _ = writeln!(io::stderr(), "{what}: {}", line.join(" "));
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Unsupported(text) | Self::Work(text) => f.write_str(text),
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
