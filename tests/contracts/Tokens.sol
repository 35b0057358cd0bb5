// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {DemoToken} from "./DemoToken.sol";

/// An ERC-20 that can also do what a watcher must tell apart.
contract Token is DemoToken {
    constructor(string memory name_, string memory symbol_, uint8 decimals_, uint256 initialSupply)
        DemoToken(name_, symbol_, decimals_, initialSupply)
    {}

    /// New tokens: a Transfer from the zero address.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// Several transfers to one recipient in one transaction.
    function burst(address to, uint256[] calldata amounts) external {
        for (uint256 i = 0; i < amounts.length; i++) {
            _transfer(msg.sender, to, amounts[i]);
        }
    }

    /// A bare Transfer event: nothing moves.
    function spoof(address from, address to, uint256 amount) external {
        emit Transfer(from, to, amount);
    }
}

/// A token of the time before ERC-20 settled: name() and symbol() are bytes32, as with MKR.
contract Bytes32Token {
    bytes32 public immutable name;
    bytes32 public immutable symbol;
    uint8 public immutable decimals;
    uint256 public immutable totalSupply;
    mapping(address => uint256) public balanceOf;

    event Transfer(address indexed from, address indexed to, uint256 value);

    constructor(bytes32 name_, bytes32 symbol_, uint8 decimals_, uint256 initialSupply) {
        name = name_;
        symbol = symbol_;
        decimals = decimals_;
        totalSupply = initialSupply;
        balanceOf[msg.sender] = initialSupply;
        emit Transfer(address(0), msg.sender, initialSupply);
    }

    function transfer(address to, uint256 value) external returns (bool) {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
        return true;
    }
}

/// An ERC-20 that refuses to tell its decimals.
contract NoDecimalsToken is ERC20 {
    error NoDecimals();

    constructor(string memory name_, string memory symbol_, uint256 initialSupply) ERC20(name_, symbol_) {
        _mint(msg.sender, initialSupply);
    }

    function decimals() public pure override returns (uint8) {
        revert NoDecimals();
    }
}
