//! The null server ends when its parent ends.

use std::io::ErrorKind;
use std::net::TcpStream;

#[test]
fn the_null_server_ends_when_its_standard_input_ends() {
    let _turn = crate::alone();
    let server = crate::start();
    let address = server.address();
    TcpStream::connect(address).expect("the server listens");

    drop(server);

    let error = TcpStream::connect(address).expect_err("nothing listens after the end");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
