//! A vision server in this process, which answers as a test tells it to.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

/// A request as the server sees it.
pub struct Request {
    /// The number of requests before it.
    pub number: usize,
    pub authorization: String,
    pub body: Value,
}

impl Request {
    pub fn question(&self) -> &str {
        self.body["messages"][0]["content"][1]["text"]
            .as_str()
            .unwrap()
    }

    pub fn image(&self) -> &str {
        let url = &self.body["messages"][0]["content"][0]["image_url"]["url"];
        url.as_str().unwrap()
    }
}

/// What the server sends: the whole answer, bytes that may be no HTTP at all.
pub type Reply = Vec<u8>;

pub fn reply(status: u16, headers: &str, body: &str) -> Reply {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

/// An answer with log-probabilities.
pub fn likely(yes: f64) -> Reply {
    let alternative = |token: &str, p: f64| json!({ "token": token, "logprob": p.ln() });
    let token = json!({
        "token": "Yes",
        "logprob": yes.ln(),
        "top_logprobs": [alternative("Yes", yes), alternative("no", 1.0 - yes)],
    });
    let choice = json!({
        "message": { "role": "assistant", "content": "Yes" },
        "logprobs": { "content": [token] },
    });
    reply(200, "", &json!({ "choices": [choice] }).to_string())
}

pub struct Server {
    pub address: String,
    /// The number of requests that came.
    pub requests: Arc<AtomicUsize>,
}

/// A server that answers each request by a function.
pub fn serve(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            let counted = counted.clone();
            std::thread::spawn(move || handle(stream.unwrap(), answer.as_ref(), &counted));
        }
    });
    Server { address, requests }
}

fn handle(mut stream: TcpStream, answer: &dyn Fn(&Request) -> Reply, requests: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut headers = HashMap::new();
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let request = Request {
        number: requests.fetch_add(1, Ordering::SeqCst),
        authorization: headers.get("authorization").cloned().unwrap_or_default(),
        body: serde_json::from_slice(&body).unwrap(),
    };
    let _ = stream.write_all(&answer(&request));
}
