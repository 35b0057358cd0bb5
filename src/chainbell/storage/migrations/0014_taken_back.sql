-- What a reorg took back after its success is looked for in every view of a mempool: seldom there is any.
create index transactions_taken_back on transactions (chain, tx_hash)
    where status = 'REVERTED' and block_height is null and not final;
