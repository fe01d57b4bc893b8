//! Says which archive is embedded, and makes the program anew when that changes.

fn main() {
    for name in [
        "SQSUPER_VERSION",
        "SQSUPER_DIGEST",
        "SQSUPER_PROGRAM",
        "SQSUPER_NEEDS",
        "SQSUPER_MANIFEST",
        "SQSUPER_CONTENTS",
    ] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    for name in ["SQSUPER_MANIFEST", "SQSUPER_CONTENTS"] {
        if let Ok(file) = std::env::var(name) {
            println!("cargo:rerun-if-changed={file}");
        }
    }
}
