//! Writes the replies: one file for a format, with one function for a reply.

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

/// The output formats of etcdctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: keys and values
    Simple,
    /// Every field on its own line
    Fields,
    /// One line of JSON, keys and values in base64
    Json,
    /// The encoded protobuf message
    // Hidden until a verb supports this format.
    #[value(hide = true)]
    Protobuf,
    /// For people, where there are columns
    Table,
}

/// Writes a reply; the last argument is whether to write in hexadecimal.
pub(crate) type Render<T> = fn(&mut dyn Write, &T, bool) -> io::Result<()>;

/// The formats of a kind of reply.
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
    /// Returns the function for a format.
    ///
    /// Commands call this before they send anything: a put whose reply cannot be written must not
    /// be applied.
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

/// The health of one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// The endpoint as the user gave it.
    pub(crate) endpoint: String,
    /// Time from the start of connecting to the answer.
    pub(crate) took: Duration,
    /// Why the endpoint is unhealthy; `None` if it is healthy.
    pub(crate) error: Option<String>,
}

/// Writes to standard output, through a buffer that is flushed at the end.
pub(crate) fn write(render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    render(&mut out)
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

/// Writes a page of help to standard output, in colours if that is a terminal.
pub(crate) fn page(text: &clap::builder::StyledStr) -> Result<(), Failure> {
    use io::IsTerminal as _;
    let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    write(|out| match coloured {
        true => write!(out, "{}", text.ansi()),
        false => write!(out, "{text}"),
    })
}
