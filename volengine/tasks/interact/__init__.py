"""interact: rules between the predictions of a tomogram."""
