//! The `etcdex` command.

fn main() -> std::process::ExitCode {
    etcdex_cli::main()
}
