from littleq.policies.scaling.inputs import INPUTS as INPUTS
