-- How addresses are written on chains of the Bitcoin family, and what their nodes show. A row from before is of an EVM chain.

alter table chains add column address_hrp text;          -- what a segwit address begins with; null: no segwit
alter table chains add column address_p2pkh smallint;    -- version byte of pay to public key hash
alter table chains add column address_p2sh smallint[];   -- version bytes of pay to script hash: the first is written
alter table chains add column address_mweb_hrp text;     -- what an address in the extension block begins with
alter table chains add constraint chains_address_format check (
    (kind = 'utxo') = (address_p2pkh is not null) and (kind = 'utxo') = (address_p2sh is not null)
    and (kind = 'utxo' or (address_hrp is null and address_mweb_hrp is null))
);

alter table coverage drop constraint coverage_steps_capability_check;
alter table coverage add constraint coverage_capability_check check (capability in ('coin', 'logs', 'token', 'mempool'));
