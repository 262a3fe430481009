//! Opens files for reading: regular files only. A FIFO, a device or a socket could block for ever
//! or never end; where a pipe makes sense, [`pipe_or_file`] reads it with limits.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{Error, Result};

/// The time in which something must begin to write to a FIFO.
const WRITER_PATIENCE: Duration = Duration::from_secs(5);

/// The time between two looks at a FIFO without data.
const PAUSE: Duration = Duration::from_millis(5);

/// Opens a regular file.
///
/// # Errors
/// The file cannot be opened, or is not a regular file.
pub fn open(path: impl AsRef<Path>) -> Result<File> {
    let path = path.as_ref();
    open_with(path, |about| about.is_file())
}

/// The bytes of a regular file.
///
/// # Errors
/// As [`open`], or the file cannot be read.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let mut bytes = vec![];
    open(path)?
        .read_to_end(&mut bytes)
        .map_err(Error::io(path))?;
    Ok(bytes)
}

/// The bytes of a regular file or of a pipe, such as a shell's `<(command)`.
///
/// # Errors
/// As [`open`], there are more than `most` bytes, or nothing writes to the pipe.
pub fn pipe_or_file(path: impl AsRef<Path>, most: u64) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let mut source = open_with(path, |about| about.is_file() || is_pipe(about))?;
    let pipe = source.metadata().is_ok_and(|about| is_pipe(&about));
    if pipe {
        return limited(path, &mut Pipe::new(source), most);
    }
    limited(path, &mut source, most)
}

/// The bytes of a source with a limit; `name` names it in errors.
///
/// # Errors
/// The source cannot be read, or has more than `most` bytes.
pub fn limited(name: impl AsRef<Path>, source: &mut dyn Read, most: u64) -> Result<Vec<u8>> {
    let name = name.as_ref();
    let mut bytes = vec![];
    source
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io(name))?;
    if bytes.len() as u64 > most {
        return Err(
            Error::file(name, format!("more than {} MB of text", most / 1_000_000))
                .with_hint("split it into several files"),
        );
    }
    Ok(bytes)
}

/// Opens without waiting for the other end of a FIFO, and looks at what was opened: a look at the
/// path would leave time to replace it.
fn open_with(path: &Path, allowed: impl Fn(&Metadata) -> bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    let refused = |about: &Metadata| {
        let hint = match about.is_dir() {
            true => "name a file in it",
            false => "name a file that is stored on a disk",
        };
        let message = format!("expected a regular file, found {}", kind(about));
        Error::file(path, message).with_hint(hint)
    };
    let file = options.open(path).map_err(|error| {
        // A socket cannot be opened at all.
        match path.metadata() {
            Ok(about) if !about.is_file() => refused(&about),
            _ => Error::io(path)(error),
        }
    })?;
    let about = file.metadata().map_err(Error::io(path))?;
    if allowed(&about) {
        Ok(file)
    } else {
        Err(refused(&about))
    }
}

#[cfg(unix)]
fn kind(about: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = about.file_type();
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn kind(about: &Metadata) -> &'static str {
    if about.is_dir() {
        "a folder"
    } else {
        "a device"
    }
}

#[cfg(unix)]
fn is_pipe(about: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    about.file_type().is_fifo()
}

#[cfg(not(unix))]
fn is_pipe(_: &Metadata) -> bool {
    false
}

/// A pipe that was opened without waiting. Without a writer it reads as ended, so its beginning has
/// to be waited for; a writer may take its time.
struct Pipe {
    file: File,
    begun: bool,
    opened: Instant,
}

impl Pipe {
    fn new(file: File) -> Self {
        Self {
            file,
            begun: false,
            opened: Instant::now(),
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(buffer) {
                Ok(0) if !self.begun => {
                    if self.opened.elapsed() > WRITER_PATIENCE {
                        let waited = WRITER_PATIENCE.as_secs();
                        let what = format!("nothing was written to this pipe within {waited} s");
                        return Err(io::Error::new(ErrorKind::TimedOut, what));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.begun = true,
                other => {
                    self.begun = true;
                    return other;
                }
            }
            sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "text").unwrap();
        assert_eq!(read(&path).unwrap(), b"text");
        assert_eq!(pipe_or_file(&path, 4).unwrap(), b"text");
        let error = pipe_or_file(&path, 3).unwrap_err().to_string();
        assert!(error.ends_with("more than 0 MB of text"), "{error}");
    }

    #[cfg(unix)]
    fn make_fifo(path: &Path) {
        use std::{ffi::CString, os::unix::ffi::OsStrExt};
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: The path ends with a zero.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o700) }, 0);
    }

    #[cfg(unix)]
    #[test]
    fn nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let fifo = folder.path().join("fifo");
        make_fifo(&fifo);
        for (path, found) in [
            (socket.as_path(), "a socket"),
            (&fifo, "a pipe"),
            (folder.path(), "a folder"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let error = read(path).unwrap_err().to_string();
            let expected = format!("expected a regular file, found {found}");
            assert!(error.ends_with(&expected), "{error}");
        }
        let error = pipe_or_file("/dev/zero", 9).unwrap_err().to_string();
        assert!(error.ends_with("found a device"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_read_where_it_makes_sense() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        make_fifo(&fifo);
        let path = fifo.clone();
        let writer = std::thread::spawn(move || {
            sleep(Duration::from_millis(50));
            std::fs::write(path, "a red circle\n").unwrap();
        });
        assert_eq!(pipe_or_file(&fifo, 100).unwrap(), b"a red circle\n");
        writer.join().unwrap();
        let error = pipe_or_file(&fifo, 100).unwrap_err().to_string();
        assert!(error.contains("nothing was written"), "{error}");
    }
}
