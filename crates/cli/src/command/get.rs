//! `get`.

use etcdex::kv::{GetResponse, SortOrder, SortTarget};

use super::bytes;
use super::range::Extent;
use crate::args::{self, Consistency, Global, Order, Target};
use crate::failure::Failure;
use crate::output::{self, Format, Render};

pub(crate) async fn run(global: &Global, get: args::Get) -> Result<(), Failure> {
    let render = render(global, &get)?;
    let request = request(get)?;
    let reply = global.connect().await?.run(request).await?;
    output::write(|out| render(out, &reply, global.hex))
}

fn render(global: &Global, get: &args::Get) -> Result<Render<GetResponse>, Failure> {
    let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
    if get.keys_only && get.count_only {
        return usage("--keys-only and --count-only exclude each other; give one of them");
    }
    if get.count_only && global.write_out != Format::Fields {
        return usage("--count-only needs --write-out fields, which writes the count");
    }
    if get.print_value_only {
        if global.write_out != Format::Simple {
            return usage("--print-value-only needs --write-out simple");
        }
        return Ok(output::values);
    }
    output::GET.choose(global.write_out)
}

fn request(get: args::Get) -> Result<etcdex::Get, Failure> {
    let extent = get.keys.extent()?;
    let request = etcdex::Get::new(bytes(get.keys.key));
    let mut request = match extent {
        Extent::Key => request,
        Extent::End(end) => request.range_end(end),
        Extent::Prefix => request.prefix(),
        Extent::FromKey => request.from_key(),
    };
    if get.order.is_some() || get.sort_by.is_some() {
        let target = get.sort_by.unwrap_or(Target::Key);
        let order = get.order.unwrap_or(Order::Ascend);
        request = request.sort(target.into(), order.into());
    }
    if get.consistency == Consistency::Serializable {
        request = request.serializable();
    }
    if get.keys_only {
        request = request.keys_only();
    }
    if get.count_only {
        request = request.count_only();
    }
    // As in etcdctl, a negative number means no limit.
    Ok(request
        .limit(u64::try_from(get.limit).unwrap_or(0))
        .revision(get.rev.max(0))
        .min_create_revision(get.min_create_rev.max(0))
        .max_create_revision(get.max_create_rev.max(0))
        .min_mod_revision(get.min_mod_rev.max(0))
        .max_mod_revision(get.max_mod_rev.max(0)))
}

impl From<Target> for SortTarget {
    fn from(target: Target) -> Self {
        match target {
            Target::Create => Self::Create,
            Target::Key => Self::Key,
            Target::Modify => Self::Mod,
            Target::Value => Self::Value,
            Target::Version => Self::Version,
        }
    }
}

impl From<Order> for SortOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Ascend => Self::Ascend,
            Order::Descend => Self::Descend,
        }
    }
}
