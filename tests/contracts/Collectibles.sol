// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";

/// ERC-721: Transfer has the token id as fourth topic, and no data.
contract Nft is ERC721 {
    constructor(string memory name_, string memory symbol_) ERC721(name_, symbol_) {}

    function mint(address to, uint256 tokenId) external {
        _mint(to, tokenId);
    }
}

/// A collectible of the time before ERC-721: its Transfer has the token id in the data, so that
/// its logs have exactly the shape of an ERC-20 transfer of `tokenId` base units.
contract OldNft {
    mapping(uint256 => address) public ownerOf;

    event Transfer(address indexed from, address indexed to, uint256 tokenId);

    error TakenAlready(uint256 tokenId);
    error NotYours(uint256 tokenId);

    function mint(address to, uint256 tokenId) external {
        if (ownerOf[tokenId] != address(0)) revert TakenAlready(tokenId);
        ownerOf[tokenId] = to;
        emit Transfer(address(0), to, tokenId);
    }

    function transfer(address to, uint256 tokenId) external {
        if (ownerOf[tokenId] != msg.sender) revert NotYours(tokenId);
        ownerOf[tokenId] = to;
        emit Transfer(msg.sender, to, tokenId);
    }
}
