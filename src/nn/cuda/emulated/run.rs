//! Compiles kernel files as C and starts calls on them.

use std::{
    collections::HashMap,
    ffi::{CStr, CString, c_char, c_int, c_void},
    path::Path,
    process::Command,
    ptr,
    sync::Mutex,
};

use crate::nn::cuda::{Arg, Call, Program};

/// `launch_kernel` of `entries.c`.
type Launch = unsafe extern "C" fn(*const c_char, *const u32, u32, *mut *mut c_void) -> c_int;

unsafe extern "C" {
    fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

const NOW: c_int = 2; // RTLD_NOW

/// The compiled programs; locked while a kernel runs, since a program has one GPU.
static PROGRAMS: Mutex<Option<HashMap<Program, Launch>>> = Mutex::new(None);

/// Runs a call to its end. Addresses are those of memory of this process, with room for what the
/// call says.
pub fn run(call: &Call) {
    let mut programs = PROGRAMS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let programs = programs.get_or_insert_default();
    let launch = *programs
        .entry(call.program.clone())
        .or_insert_with(|| compile(&call.program));
    let mut args: Vec<*mut c_void> = call.args.iter().map(address).collect();
    let kernel = CString::new(call.kernel).unwrap();
    // SAFETY: the arguments are of the number and the types that `entries.c` takes for this kernel,
    // and live until it ends.
    let known = unsafe {
        launch(
            kernel.as_ptr(),
            call.grid.as_ptr(),
            call.threads,
            args.as_mut_ptr(),
        )
    };
    assert_eq!(
        known, 1,
        "{} has no kernel {}",
        call.program.file, call.kernel
    );
}

fn address(arg: &Arg) -> *mut c_void {
    match arg {
        Arg::Address(value) => ptr::from_ref(value).cast_mut().cast(),
        Arg::Int(value) => ptr::from_ref(value).cast_mut().cast(),
        Arg::Long(value) => ptr::from_ref(value).cast_mut().cast(),
        Arg::Real(value) => ptr::from_ref(value).cast_mut().cast(),
    }
}

fn compile(program: &Program) -> Launch {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/nn/cuda/emulated");
    let built = tempfile::tempdir().unwrap();
    let library = built.path().join("kernel.so");
    let file = program.file;
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let done = Command::new(compiler)
        .args([
            "-std=gnu11",
            "-O2",
            "-Wall",
            "-Werror",
            "-Wno-unused-function",
            "-Wno-unknown-pragmas",
        ])
        .args([
            "-fno-strict-aliasing",
            "-fPIC",
            "-shared",
            &format!("-D{file}_cu"),
        ])
        .arg(format!("-DKERNEL_FILE=\"../{file}.cu\""))
        .args(program.definitions())
        .arg("-o")
        .args([&library, &folder.join("entries.c")])
        .arg("-lm")
        .output()
        .expect("a C compiler");
    assert!(
        done.status.success(),
        "{file}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    load(&library) // its file is not needed any more
}

fn load(library: &Path) -> Launch {
    let path = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: the library was just compiled from `entries.c`; it runs nothing when it is loaded and
    // is never unloaded.
    unsafe {
        let handle = dlopen(path.as_ptr(), NOW);
        assert!(
            !handle.is_null(),
            "{}",
            CStr::from_ptr(dlerror()).to_string_lossy()
        );
        let launch = dlsym(handle, c"launch_kernel".as_ptr());
        assert!(
            !launch.is_null(),
            "no launch_kernel in {}",
            library.display()
        );
        std::mem::transmute::<*mut c_void, Launch>(launch)
    }
}
