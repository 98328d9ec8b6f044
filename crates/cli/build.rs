//! Links the program for a fixed address. At any other address the loader writes to all tables of pointers before the program
//! begins: 1.5 to 2.5 MiB that every job would have to fit beside. Heap, stack and libraries are still placed at random.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    // A static program (`-C target-feature=+crt-static`) is linked in another way, which asks for a loader with this flag.
    let is_static = target("FEATURE").split(',').any(|feature| feature == "crt-static");
    if target("OS") == "linux" && target("ENV") == "gnu" && !is_static {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
