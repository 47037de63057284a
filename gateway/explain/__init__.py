"""Why a request is answered as it is: a pure evaluator of the Envoy resources we compile."""
