//! How replies are written: one file for a format, one function in it for a reply.

mod fields;
mod json;
mod quote;
mod simple;
mod table;

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use clap::ValueEnum;
use etcdex::kv::{DeleteResponse, GetResponse, PutResponse};

use crate::failure::Failure;

pub(crate) use self::simple::values;

/// The formats of etcdctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: keys and values
    Simple,
    /// Every field on a line of its own
    Fields,
    /// One line of JSON, keys and values in base64
    Json,
    /// The message as it is on the wire
    // Hidden as long as no verb has it.
    #[value(hide = true)]
    Protobuf,
    /// For people, where there are columns
    Table,
}

/// Writes a reply; the last argument says whether in hexadecimal.
pub(crate) type Render<T> = fn(&mut dyn Write, &T, bool) -> io::Result<()>;

/// In which formats a reply can be written.
pub(crate) struct Formats<T: ?Sized> {
    verb: &'static str,
    simple: Render<T>,
    fields: Render<T>,
    json: Render<T>,
    table: Option<Render<T>>,
}

pub(crate) const PUT: Formats<PutResponse> = Formats {
    verb: "put",
    simple: simple::put,
    fields: fields::put,
    json: json::put,
    table: None,
};

pub(crate) const GET: Formats<GetResponse> = Formats {
    verb: "get",
    simple: simple::get,
    fields: fields::get,
    json: json::get,
    table: None,
};

pub(crate) const DEL: Formats<DeleteResponse> = Formats {
    verb: "del",
    simple: simple::del,
    fields: fields::del,
    json: json::del,
    table: None,
};

pub(crate) const HEALTH: Formats<[Health]> = Formats {
    verb: "endpoint health",
    simple: simple::health,
    fields: fields::health,
    json: json::health,
    table: Some(table::health),
};

impl<T: ?Sized> Formats<T> {
    /// The function for a format. To be asked for before anything is sent: a put whose reply
    /// cannot be written must not happen.
    pub(crate) fn choose(&self, format: Format) -> Result<Render<T>, Failure> {
        let render = match format {
            Format::Simple => Some(self.simple),
            Format::Fields => Some(self.fields),
            Format::Json => Some(self.json),
            Format::Protobuf => None,
            Format::Table => self.table,
        };
        render.ok_or_else(|| {
            let name = format!("{format:?}").to_lowercase();
            let table = if self.table.is_some() { ", table" } else { "" };
            Failure::Unsupported(format!(
                "{} has no output format {name}; it has simple, fields, json{table}",
                self.verb
            ))
        })
    }
}

/// What became of asking one endpoint for its health.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// As it was given.
    pub(crate) endpoint: String,
    pub(crate) took: Duration,
    /// Why it is not healthy.
    pub(crate) error: Option<String>,
}

/// Writes to standard output, all or an error.
pub(crate) fn write(render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    render(&mut out)
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

/// Writes a page of help, in colours where they can be seen.
pub(crate) fn page(text: &clap::builder::StyledStr) -> Result<(), Failure> {
    use io::IsTerminal as _;
    let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    write(|out| match coloured {
        true => write!(out, "{}", text.ansi()),
        false => write!(out, "{text}"),
    })
}
