//! `bench-serve-while-building`: the 99th percentile of the answers of a served
//! app while a build runs flat out, against the same in peace, in turn; and as
//! a peer the same with builds that have no limits.

fn main() -> anyhow::Result<()> {
    nonna_bench::serving::measure("serve-while-building")
}
