//! The null server goes when its parent does.

use std::io::ErrorKind;
use std::net::TcpStream;

#[test]
fn it_ends_when_its_standard_input_does() {
    let _turn = crate::alone();
    let server = crate::start();
    let address = server.address();
    TcpStream::connect(address).expect("it listens");

    drop(server);

    let error = TcpStream::connect(address).expect_err("nothing listens any more");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
