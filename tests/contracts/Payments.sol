// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// Refuses every call and every payment, after taking it on.
contract Reverter {
    error Refused();

    receive() external payable {
        revert Refused();
    }

    fallback() external payable {
        revert Refused();
    }
}

/// Passes the value of a call on: the recipient gets it by an internal transfer.
contract Forwarder {
    error NotDelivered();

    function forward(address payable to) external payable {
        (bool done,) = to.call{value: msg.value}("");
        if (!done) revert NotDelivered();
    }
}
