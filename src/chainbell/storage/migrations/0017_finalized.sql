-- Until now the first cursor that moved became "finalized" where a node had called nothing final yet. What is final is asked
-- again at the next look, and waits until then.

update chains set finalized_height = null;
