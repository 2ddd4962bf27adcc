//! Plain HTTP requests in process, for what clients would hide: codes, headers, raw bodies.

use authz::User;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tower::Service as _;

use crate::harness::Server;

pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| {
            panic!("{e}: {}", String::from_utf8_lossy(&self.bytes));
        })
    }

    /// The body, after a check of the code.
    pub fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }

    /// The message of a `Status` with this code.
    pub fn fails(&self, code: u16) -> String {
        self.expect(code)["message"].as_str().unwrap().to_owned()
    }
}

impl Server {
    /// Sends a request as an administrator.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let tester = User::new("tester", &["system:masters"]);
        self.send_as(tester, method, path, headers, body).await
    }

    /// The same as somebody else.
    pub async fn send_as(
        &self,
        user: User,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let mut service = self.api.as_user(user);
        let response = service.call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            bytes: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.send("POST", path, &json, body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.send("PUT", path, &json, body.to_string()).await
    }

    /// A patch of the type `application/<form>`.
    pub async fn patch(&self, path: &str, form: &str, body: &Value) -> Answer {
        let media = format!("application/{form}");
        self.send("PATCH", path, &[("content-type", &media)], body.to_string())
            .await
    }
}
